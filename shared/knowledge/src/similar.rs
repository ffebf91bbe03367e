//! Wordings of different intents that mean the same to the model.

use std::path::Path;

use ndarray::{Axis, s};

use crate::check::{Finding, Severity, place};
use crate::pack::{Example, Pack};
use crate::vectors::matrix;

/// The least cosine of a near-duplicate.
///
/// In the shop pack no pair across intents reaches it (the nearest is 0.973, of "out of stock" and "something is
/// missing" in two Chinese characters each), while pairs within an intent do that only differ in word order or a
/// politeness. The median of unrelated pairs is 0.79, so a rounder figure would mean nothing with this model.
pub const NEAR: f32 = 0.975;

/// The same between an utterance and a text of the background, which pulls at every question near to both.
const NEAR_BACKGROUND: f32 = crate::corpus::SAME;

/// Rows compared at a time, which bounds the memory.
const BLOCK: usize = 256;

/// Warns of each example that is nearly the same as one of another intent, or of the background.
///
/// The vectors are those of [`Pack::examples`], one after the other; where they are not, there is nothing to compare.
#[must_use]
pub fn similar(pack: &Pack, vectors: &[f32]) -> Vec<Finding> {
    let examples: Vec<Example<'_>> = pack.examples().collect();
    let Some(vectors) = matrix(vectors, examples.len()) else { return Vec::new() };
    let mut findings = Vec::new();
    for (block, rows) in vectors.axis_chunks_iter(Axis(0), BLOCK).enumerate() {
        let first = block * BLOCK;
        // Each pair once: a row against those from its block on.
        let cosines = rows.dot(&vectors.slice(s![first.., ..]).t());
        for ((row, column), &cosine) in cosines.indexed_iter() {
            let (a, b) = (&examples[first + row], &examples[first + column]);
            let near = if a.intent.is_none() || b.intent.is_none() { NEAR_BACKGROUND } else { NEAR };
            if column > row && cosine >= near && a.intent != b.intent {
                findings.push(finding(pack, a, b, cosine));
            }
        }
    }
    findings
}

fn finding(pack: &Pack, first: &Example<'_>, second: &Example<'_>, cosine: f32) -> Finding {
    let owner = first.intent.map_or("the background", |intent| &pack.intents[intent].id);
    let message = format!(
        "\"{}\" is nearly \"{}\" at {}, in {owner} (cosine {cosine:.3}); reword one or drop it",
        second.text,
        first.text,
        place(first.file, first.line)
    );
    Finding { severity: Severity::Warning, file: Path::to_owned(second.file), line: second.line, message }
}
