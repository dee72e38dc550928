//! Load traces: folders of `timestamp,value` files, laid on a regular grid.

use std::fs;
use std::path::Path;

use jiff::Timestamp;

/// Windows are looked for in steps of this length, or of the trace's own if that is longer.
pub(crate) const GRID: i64 = 900;
pub(crate) const DAY: i64 = 86_400;

/// A load at regular steps; missing values are NaN.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) name: String,
    /// When the first step begins, in seconds since 1970.
    pub(crate) start: i64,
    /// In seconds.
    pub(crate) step: i64,
    pub(crate) values: Vec<f32>,
}

impl Trace {
    /// The file's own steps.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut rows = Vec::new();
        for (number, line) in text.lines().enumerate().skip(1) {
            let wrong = || format!("{}:{}: not `timestamp,value`: {line:?}", path.display(), number + 1);
            let (at, value) = line.split_once(',').ok_or_else(wrong)?;
            let at: Timestamp = at.trim().parse().map_err(|_| wrong())?;
            let value: f32 = value.trim().parse().map_err(|_| wrong())?;
            rows.push((at.as_second(), value));
        }
        rows.sort_unstable_by_key(|(at, _)| *at);
        Self::on_grid(name, &rows).ok_or_else(|| format!("{}: fewer than two rows", path.display()))
    }

    fn on_grid(name: String, rows: &[(i64, f32)]) -> Option<Self> {
        let mut gaps: Vec<_> =
            rows.windows(2).map(|pair| pair[1].0 - pair[0].0).filter(|gap| *gap > 0).collect();
        gaps.sort_unstable();
        let step = *gaps.get(gaps.len() / 2)?;
        let start = rows[0].0.div_euclid(step) * step;
        let steps = usize::try_from((rows.last()?.0 - start) / step + 1).ok()?;
        let mut sums = vec![(0.0_f64, 0_u32); steps];
        for (at, value) in rows {
            let cell = &mut sums[usize::try_from((at - start) / step).ok()?];
            if value.is_finite() {
                *cell = (cell.0 + f64::from(*value), cell.1 + 1);
            }
        }
        let values = sums.into_iter().map(|(sum, count)| (sum / f64::from(count)) as f32).collect();
        Some(Self { name, start, step, values })
    }

    /// The same load in steps that are looked for windows in, from its first midnight on.
    pub(crate) fn gridded(&self) -> Self {
        let step = self.step.max(GRID);
        let rows: Vec<_> =
            self.values.iter().enumerate().map(|(at, value)| (self.time(at), *value)).collect();
        let start = self.start + (-self.start).rem_euclid(DAY);
        let end = self.time(self.values.len());
        let steps = usize::try_from((end - start) / step).unwrap_or_default();
        let mut sums = vec![(0.0_f64, 0_u32); steps];
        for (at, value) in rows.into_iter().filter(|(at, value)| *at >= start && value.is_finite()) {
            if let Some(cell) = usize::try_from((at - start) / step).ok().and_then(|at| sums.get_mut(at)) {
                *cell = (cell.0 + f64::from(value), cell.1 + 1);
            }
        }
        let values = sums.into_iter().map(|(sum, count)| (sum / f64::from(count)) as f32).collect();
        Self { name: self.name.clone(), start, step, values }
    }

    /// When a step begins, in seconds since 1970.
    pub(crate) fn time(&self, at: usize) -> i64 {
        self.start + at as i64 * self.step
    }

    /// Steps in a day.
    pub(crate) fn per_day(&self) -> usize {
        usize::try_from(DAY / self.step).unwrap_or(1)
    }

    /// Steps in so many hours, one at least.
    pub(crate) fn hours(&self, hours: i64) -> usize {
        usize::try_from(hours * 3600 / self.step).unwrap_or(1).max(1)
    }

    /// What a percentage point is in the trace's unit: one where it looks like a percentage, otherwise a hundredth of
    /// the largest value.
    pub(crate) fn point(&self) -> f64 {
        let top = self.values.iter().copied().filter(|v| v.is_finite()).fold(0.0_f32, f32::max);
        if top > 1.0 && top <= 100.0 { 1.0 } else { f64::from(top) / 100.0 }
    }
}

/// All traces of a folder, by name.
pub(crate) fn read_dir(dir: &Path) -> Result<Vec<Trace>, String> {
    let entries = fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut paths: Vec<_> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "csv"));
    paths.sort();
    paths.iter().map(|path| Trace::read(path)).collect()
}
