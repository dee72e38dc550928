//! From TOML text to [`Node`]s.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};
use toml_parser::lexer::TokenKind;

use super::merge;

use super::node::{Entry, Node, Span, Tree};
use super::path::Path;
use super::problem::{Findings, Severity};

/// Larger texts are refused: spans count in 32 bits.
pub(crate) const MOST_BYTES: usize = u32::MAX as usize;

/// A text is parsed in pieces of about this size: what the parser makes of one takes some thirty times as much room.
const PIECE: usize = 256 << 10;

/// The tree of a TOML text. What is not TOML is reported, and the rest is read all the same.
pub(crate) fn toml<'a>(text: &'a str, findings: &mut Findings) -> Node<'a> {
    if text.len() > MOST_BYTES {
        findings.error(Span::default(), &Path::ROOT, "the file is larger than 4 GiB");
        return Node::table::<&str>([]);
    }
    in_pieces(text, PIECE, findings)
}

fn in_pieces<'a>(text: &'a str, size: usize, findings: &mut Findings) -> Node<'a> {
    let (mut all, mut of_pieces) = (Vec::new(), Findings::default());
    let pieces = pieces(text, size);
    let is_whole = pieces.len() == 1;
    for piece in pieces {
        let mut parser = Parser { offset: piece.start, findings: &mut of_pieces };
        all.extend(parser.document(&text[piece]));
    }
    let entries = merge::settled(all, text, &mut of_pieces);
    if of_pieces.has_errors() && !is_whole {
        // A piece does not know what was begun before it: whether that is wrong the whole text tells.
        return in_pieces(text, usize::MAX, findings);
    }
    findings.extend(of_pieces);
    Node { span: Span { start: 0, end: text.len() as u32 }, tree: Tree::Table(entries) }
}

/// The text from table header to table header, several together up to about `size` bytes.
fn pieces(text: &str, size: usize) -> Vec<Range<usize>> {
    let (mut pieces, mut start) = (Vec::new(), 0);
    let (mut depth, mut begins_line) = (0_usize, true);
    for token in toml_parser::Source::new(text).lex() {
        let at = token.span().start();
        match token.kind() {
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => {
                if begins_line && depth == 0 && at - start >= size {
                    pieces.push(start..at);
                    start = at;
                }
                depth += 1;
            }
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => depth = depth.saturating_sub(1),
            _ => {}
        }
        let is_blank = token.kind() == TokenKind::Whitespace && begins_line;
        begins_line = is_blank || token.kind() == TokenKind::Newline;
    }
    pieces.push(start..text.len());
    pieces
}

/// Parses one piece; spans count from the beginning of the whole text.
struct Parser<'f> {
    offset: usize,
    findings: &'f mut Findings,
}

impl Parser<'_> {
    fn document<'a>(&mut self, text: &'a str) -> Vec<Entry<'a>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let span = error.span().map_or_else(|| self.span(0..0), |span| self.span(span));
            self.findings.add(Severity::Error, span, String::new(), error.message().to_owned());
        }
        self.entries(table.into_inner())
    }

    fn span(&self, range: Range<usize>) -> Span {
        // The text is shorter than that.
        let short = |at: usize| u32::try_from(at + self.offset).unwrap_or(u32::MAX);
        Span { start: short(range.start), end: short(range.end) }
    }

    fn entries<'a>(&mut self, table: DeTable<'a>) -> Vec<Entry<'a>> {
        // What stands nowhere is what the parser puts in the place of a value that it could not read.
        let entries = table.into_iter().filter(|(_, value)| !value.span().is_empty());
        entries.map(|(key, value)| self.entry(key, value)).collect()
    }

    fn entry<'a>(&mut self, key: Spanned<DeString<'a>>, value: Spanned<DeValue<'a>>) -> Entry<'a> {
        Entry { key_span: self.span(key.span()), key: key.into_inner(), node: self.node(value) }
    }

    fn node<'a>(&mut self, value: Spanned<DeValue<'a>>) -> Node<'a> {
        let span = self.span(value.span());
        let tree = match value.into_inner() {
            DeValue::String(text) => Tree::Text(text),
            DeValue::Boolean(flag) => Tree::Flag(flag),
            DeValue::Integer(number) => {
                let parsed = i64::from_str_radix(number.as_str(), number.radix());
                Tree::Integer(parsed.unwrap_or_else(|_| self.too_large(span, &number)))
            }
            DeValue::Float(number) => Tree::Number(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Datetime(moment) => Tree::Text(Cow::Owned(moment.to_string())),
            DeValue::Array(array) => Tree::List(array.into_iter().map(|value| self.node(value)).collect()),
            DeValue::Table(table) => Tree::Table(self.entries(table)),
        };
        Node { span, tree }
    }

    fn too_large(&mut self, at: Span, number: &impl std::fmt::Display) -> i64 {
        self.findings.error(at, &Path::ROOT, format!("{number} does not fit into 64 bits"));
        0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policies::BUILTIN;

    fn read(text: &str, size: usize) -> (Node<'_>, String) {
        let mut findings = Findings::default();
        let node = in_pieces(text, size, &mut findings);
        (node, findings.problems(None).to_string())
    }

    #[test]
    fn pieces_begin_at_headers_only() {
        let text = "a = [\n[1],\n]\nb = \"\"\"\n[no]\n\"\"\"\n[x]\n # [no]\n[[y]]\nc = 1\n  [z]\n";
        let pieces = pieces(text, 1);
        let begin: Vec<_> =
            pieces.iter().skip(1).map(|piece| text[piece.start..].lines().next().unwrap()).collect();
        assert_eq!(begin, ["[x]", "[[y]]", "[z]"]);
    }

    #[test]
    fn what_is_defined_twice_is_refused_wherever_it_stands() {
        for text in [
            "[a.x]\n[b]\n[a.x]\n",
            "[a.x]\ny = 1\n[b]\n[a.x.y]\n",
            "[a]\nx = {}\n[b]\n[a.x.y]\n",
            "[[a.x]]\n[b]\n[a.x]\n",
            "[a]\nx = [{}]\n[b]\n[[a.x]]\n",
        ] {
            assert!(!read(text, usize::MAX).1.is_empty(), "{text}");
            assert!(!read(text, 1).1.is_empty(), "{text}");
        }
    }

    proptest! {
        /// However a text is cut, it says the same.
        #[test]
        fn pieces_put_together_are_the_whole(
            headers in prop::collection::vec(
                prop::sample::select(vec!["[a]", "[a.x]", "[a.x.z]", "[b]", "[c.x]", "[[d]]", "[d.x]", "[[a.l]]", "[a.l.m]"]),
                0..8,
            ),
            size in 1_usize..60,
        ) {
            let numbered = headers.iter().enumerate().map(|(n, header)| format!("{header}\nk{n} = {n}\n"));
            let text: String = numbered.collect();
            let (whole, wrong) = read(&text, usize::MAX);
            let (cut, also_wrong) = read(&text, size);
            prop_assert_eq!(wrong, also_wrong, "{}", text);
            prop_assert_eq!(whole, cut);
        }
    }

    #[test]
    fn the_built_in_file_is_the_same_in_any_pieces() {
        let (whole, wrong) = read(BUILTIN, usize::MAX);
        assert_eq!(wrong, "");
        for size in [1, 100, 1000] {
            assert_eq!(read(BUILTIN, size), (whole.clone(), String::new()), "{size}");
        }
    }
}
