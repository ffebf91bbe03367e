//! Vectors that lie one after the other.

use ndarray::ArrayView2;

/// A row for each of `rows` vectors; `None` where the numbers do not divide evenly into them.
pub(crate) fn matrix(vectors: &[f32], rows: usize) -> Option<ArrayView2<'_, f32>> {
    let columns = vectors.len().checked_div(rows).filter(|columns| *columns > 0 && columns * rows == vectors.len())?;
    ArrayView2::from_shape((rows, columns), vectors).ok()
}
