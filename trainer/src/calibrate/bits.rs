//! Which matrices keep 8 bits, where a file may have more than the 4.5 a weight of q4.

use siskin_format::{DType, PanelLayout};

/// What storing one matrix with 4 bits instead of 8 costs.
#[derive(Clone, Debug)]
pub struct Price {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: (usize, usize),
    /// What is lost by 4 bits and not by 8, in any unit that is the same for all.
    pub loss: f64,
}

/// Bits of a file's matrices, and their weights.
fn bits(dtype: DType, (rows, cols): (usize, usize)) -> f64 {
    PanelLayout::new(dtype, rows, cols).map_or(f64::INFINITY, |layout| 8.0 * layout.bytes() as f64)
}

/// The dtype of each matrix, so that together they take at most `bits_per_weight`, padding included: those that lose most per byte
/// keep 8 bits.
pub fn choose(prices: &[Price], bits_per_weight: f64) -> Vec<DType> {
    let weights: f64 = prices.iter().map(|p| (p.shape.0 * p.shape.1) as f64).sum();
    let mut room = bits_per_weight * weights - prices.iter().map(|p| bits(DType::Q4, p.shape)).sum::<f64>();
    let more = |p: &Price| bits(DType::Q8, p.shape) - bits(DType::Q4, p.shape);
    let mut order: Vec<usize> = (0..prices.len()).collect();
    order.sort_by(|&a, &b| {
        let worth = |i: usize| prices[i].loss / more(&prices[i]);
        worth(b).total_cmp(&worth(a))
    });
    let mut chosen = vec![DType::Q4; prices.len()];
    for i in order {
        if prices[i].loss > 0.0 && more(&prices[i]) <= room {
            room -= more(&prices[i]);
            chosen[i] = DType::Q8;
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_loses_most_per_byte_keeps_eight_bits() {
        let price = |name: &str, rows: usize, loss: f64| Price { name: name.into(), shape: (rows, 64), loss };
        let prices = [price("a", 64, 1.0), price("b", 64, 3.0), price("c", 128, 4.0), price("d", 64, -1.0)];
        assert_eq!(choose(&prices, 4.5), [DType::Q4; 4]);
        assert_eq!(choose(&prices, 5.4), [DType::Q4, DType::Q8, DType::Q4, DType::Q4]);
        assert_eq!(choose(&prices, 100.0), [DType::Q8, DType::Q8, DType::Q8, DType::Q4]);
    }
}
