//! What somebody probably meant.

/// How alike a name must be to be suggested, as Jaro-Winkler similarity.
const ALIKE: f64 = 0.8;

/// The most similar of the known names, if one is similar.
pub(crate) fn of<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let name = name.trim().to_lowercase();
    let scored = known.map(|known| (strsim::jaro_winkler(known, &name), known));
    let alike = scored.filter(|(score, _)| *score >= ALIKE);
    alike.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}
