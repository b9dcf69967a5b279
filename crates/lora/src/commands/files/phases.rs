//! The phases of a `.travis.yml`, each at its own lines of the text.

use crate::commands::shell::{Script, Syntax};
use crate::domain::PHASES;
use crate::yaml::{self, Data, Node};

/// Returns the scripts of all phases, of the root and of the jobs.
pub(super) fn scripts(text: &str) -> Vec<Script> {
    let Some(root) = yaml::read(text).ok().and_then(|document| document.root) else { return Vec::new() };
    let lines: Vec<&str> = text.lines().collect();
    let mut scripts = Vec::new();
    let mut seen = Vec::new();
    let jobs = ["jobs", "matrix"].into_iter().filter_map(|key| root.get(key));
    let jobs =
        jobs.filter_map(|entry| entry.value.get("include").map(|included| &included.value).or(Some(&entry.value)));
    for map in std::iter::once(&root).chain(jobs.flat_map(Node::items)) {
        for phase in PHASES.iter().chain(&["deploy"]).filter_map(|phase| map.get(phase)) {
            let commands = std::iter::once(&phase.value).chain(phase.value.items());
            for node in commands.filter(|node| node.text().is_some()) {
                // An alias has the place of its anchor.
                if !seen.contains(&node.at) {
                    seen.push(node.at);
                    scripts.extend(script(node, &lines));
                }
            }
        }
    }
    scripts
}

/// Returns the script of a scalar, whose text may stand on several lines.
fn script(node: &Node, lines: &[&str]) -> Option<Script> {
    let Data::Scalar { text, .. } = &node.data else { return None };
    let mut script = Script::new(Syntax::Posix);
    let first = node.at.line.checked_sub(1)? as usize;
    let line = lines.get(first)?;
    let start = line.char_indices().nth(node.at.column.checked_sub(1)? as usize).map_or(line.len(), |(at, _)| at);
    let written = &line[start..];
    let is_block = written.starts_with(['|', '>']);
    // The parser may place a block at its content.
    let (from, number) = if is_block { ("", first + 1) } else { (written.trim_start_matches(['"', '\'']), first) };
    let quote = written.len() - from.len();
    let mut rest = text.as_str();
    let mut column = if is_block { 1 } else { node.at.column + quote as u32 };
    for (index, line) in lines.iter().enumerate().skip(number) {
        let (piece, at) = match index == first {
            true => (from.trim_end(), column),
            false => (line.trim(), line.chars().take_while(|c| c.is_whitespace()).count() as u32 + 1),
        };
        column = at;
        let blank = rest.len() - rest.trim_start().len();
        script.push(&rest[..blank], index as u32 + 1, at);
        rest = &rest[blank..];
        if rest.is_empty() {
            break;
        }
        match rest.strip_prefix(piece) {
            Some(after) => {
                script.push(piece, index as u32 + 1, at);
                rest = after;
            }
            // Escapes, a comment or the closing quote: the words that are left get this place.
            None => {
                let end = rest.find('\n').unwrap_or(rest.len());
                script.push(&rest[..end], index as u32 + 1, at);
                rest = &rest[end..];
            }
        }
    }
    (script.len() > 0).then_some(script)
}
