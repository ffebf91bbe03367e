//! Finding a pack's [`Thresholds`] by what became of its own texts when they were [`held_out`](crate::held_out); its
//! test questions play no part.

use std::io;
use std::path::Path;

use crate::Thresholds;
use crate::held_out::HeldOut;
use crate::pack::{self, SETTINGS};
use crate::ranking::Outcome;

/// How far from the threshold that follows from the evidence another may be, in steps of a hundredth: no pack is made
/// silent or reckless by a few odd utterances.
const FARTHEST: u8 = 8;

/// What one held-out text's answer is worth.
const RIGHT: i64 = 1;
const WRONG: i64 = -2;

/// Finds the thresholds for a pack of whose texts this became, near to `usual`, those that follow from its evidence.
///
/// Another threshold is taken only where its answers are worth more by more than chance explains: held-out utterances
/// are harder than what people ask (of the shop's, 80 % are answered rightly, and of blind questions 96 %), so they tell
/// which of two thresholds suits a pack better, and not how good it is.
#[must_use]
pub fn calibrate(held_out: &[HeldOut], usual: Thresholds) -> Thresholds {
    let near = |hundredths: i8| Thresholds {
        answer: ((usual.answer * 100.0).round() + f32::from(hundredths)) / 100.0,
        ..usual
    };
    let steps = FARTHEST.cast_signed();
    let others = (-steps..=steps).map(near).filter(Thresholds::are_possible);
    let gains = others.map(|other| (gain(held_out, usual, other), other));
    let best = gains.max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.filter(|(gain, _)| *gain > 0.0).map_or(usual, |(_, other)| other)
}

/// How much more the answers of one threshold are worth than those of another, less twice its standard error.
fn gain(held_out: &[HeldOut], usual: Thresholds, other: Thresholds) -> f64 {
    let differences = held_out.iter().map(|text| worth(text, other) - worth(text, usual));
    let (sum, squares) = differences
        .fold((0_i64, 0_i64), |(sum, squares), difference| (sum + difference, squares + difference * difference));
    #[expect(clippy::cast_precision_loss, reason = "a pack has fewer texts than f64 counts exactly")]
    let (sum, squares) = (sum as f64, squares as f64);
    sum - 2.0 * squares.sqrt()
}

fn worth(text: &HeldOut, thresholds: Thresholds) -> i64 {
    match (thresholds.outcome(&text.ranking), text.intent) {
        (Outcome::Answer, Some(intent)) if intent == text.ranking.nearest()[0].intent => RIGHT,
        (Outcome::Answer, _) => WRONG,
        _ => 0,
    }
}

/// Writes thresholds to `pack.yaml`, leaving every other line, the comments included, as it is.
///
/// # Errors
/// When the file cannot be read or written, or is written in such a way that the new text would not say the thresholds:
/// then the line to write is named, and the file stays as it is.
pub fn store(pack: &Path, thresholds: &Thresholds) -> io::Result<()> {
    let file = pack.join(SETTINGS);
    let text = replaced(&std::fs::read_to_string(&file)?, thresholds);
    if pack::thresholds(&file, &text) != Some(*thresholds) {
        let message = format!("{} could not be changed; write this line to it: {}", file.display(), line(thresholds));
        return Err(io::Error::other(message));
    }
    let scratch = file.with_extension("yaml.new");
    std::fs::write(&scratch, text)?;
    std::fs::rename(&scratch, &file)
}

fn line(thresholds: &Thresholds) -> String {
    let Thresholds { answer, scope, suggest } = thresholds;
    format!("thresholds: {{answer: {answer}, scope: {scope}, suggest: {suggest}}}")
}

/// The text with its `thresholds`, on one line or several, replaced; at its end where it has none.
fn replaced(text: &str, thresholds: &Thresholds) -> String {
    let line = format!("{}\n", line(thresholds));
    let mut lines = text.split_inclusive('\n').peekable();
    let mut new = String::with_capacity(text.len() + line.len());
    let mut written = false;
    while let Some(old) = lines.next() {
        if !written && old.starts_with("thresholds:") {
            new.push_str(&line);
            written = true;
            while lines.next_if(|next| next.starts_with([' ', '}'])).is_some() {}
        } else {
            new.push_str(old);
        }
    }
    if !written {
        if !new.is_empty() && !new.ends_with('\n') {
            new.push('\n');
        }
        new.push_str(&line);
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUND: Thresholds = Thresholds { answer: 0.25, scope: 0.5, suggest: 0.05 };
    const LINE: &str = "thresholds: {answer: 0.25, scope: 0.5, suggest: 0.05}\n";

    #[test]
    fn only_the_thresholds_of_a_file_are_rewritten() {
        let old = "name: shop # ours\n# why\nthresholds: {answer: 1}\n# after\ntexts: {}\n";
        assert_eq!(replaced(old, &FOUND), format!("name: shop # ours\n# why\n{LINE}# after\ntexts: {{}}\n"));
        let block = "thresholds:\n  answer: 1\n  suggest: 2\ntexts: {}\n";
        assert_eq!(replaced(block, &FOUND), format!("{LINE}texts: {{}}\n"));
        assert_eq!(replaced("name: shop", &FOUND), format!("name: shop\n{LINE}"));
    }
}
