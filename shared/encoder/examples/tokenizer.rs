//! For `tests/bench`: how long opening a tokenizer takes, or with `--ids` the ids of each line of standard input.
//!
//! Prints two medians in milliseconds: opening the file, and opening it and encoding a first text.

#![expect(clippy::print_stdout, reason = "an example's output")]

use std::error::Error;
use std::io::stdin;
use std::path::Path;
use std::time::Instant;

use hoopoe_encoder::tokenizer::Tokenizer;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: tokenizer <tokenizer.bin> [--ids]")?;
    let path = Path::new(&path);
    if arguments.next().is_some() {
        let tokenizer = Tokenizer::open(path)?;
        for line in stdin().lines() {
            let ids: Vec<String> = tokenizer.encode(&line?, 128).iter().map(ToString::to_string).collect();
            println!("{}", ids.join(" "));
        }
        return Ok(());
    }
    let opened = median(1001, || Tokenizer::open(path).map(drop))?;
    let encoded = median(101, || Tokenizer::open(path).map(|tokenizer| drop(tokenizer.encode("忘记密码怎么办", 128))))?;
    println!("{opened:.4} {encoded:.4}");
    Ok(())
}

/// The median time of so many calls, in milliseconds.
fn median<E>(times: usize, mut call: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let mut taken = Vec::with_capacity(times);
    for _ in 0..times {
        let start = Instant::now();
        call()?;
        taken.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    taken.sort_by(f64::total_cmp);
    Ok(taken[times / 2])
}
