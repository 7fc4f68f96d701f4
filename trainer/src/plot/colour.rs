//! Colours of heat maps, `t` in 0..=1.

/// viridis (Smith & van der Walt 2015, CC0) at nine places: its lightness rises evenly, so that it can be read in grey.
const VIRIDIS: [[u8; 3]; 9] = [
    [68, 1, 84],
    [71, 44, 122],
    [59, 81, 139],
    [44, 113, 142],
    [33, 144, 141],
    [39, 173, 129],
    [92, 200, 99],
    [170, 220, 50],
    [253, 231, 37],
];

/// Below 0, 0, above 0: dark blue, nearly white, orange of middle lightness.
const AROUND_ZERO: [[u8; 3]; 5] =
    [[8, 48, 107], [107, 160, 205], [245, 245, 245], [249, 172, 100], [196, 78, 0]];

/// What a heat map's colours mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Map {
    /// From little to much.
    Sequential,
    /// Around zero.
    Diverging,
}

impl Map {
    /// `#rrggbb`.
    pub(crate) fn hex(self, t: f64) -> String {
        let stops: &[[u8; 3]] = match self {
            Map::Sequential => &VIRIDIS,
            Map::Diverging => &AROUND_ZERO,
        };
        let at = t.clamp(0.0, 1.0) * (stops.len() - 1) as f64;
        let i = (at as usize).min(stops.len() - 2);
        let part = at - i as f64;
        let mix = |c: usize| {
            let (a, b) = (f64::from(stops[i][c]), f64::from(stops[i + 1][c]));
            (a + (b - a) * part).round() as u8
        };
        format!("#{:02x}{:02x}{:02x}", mix(0), mix(1), mix(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lightness_rises_evenly() {
        let light = |t: f64| {
            let hex = Map::Sequential.hex(t);
            let c = |at: usize| f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
            0.2126 * c(1) + 0.7152 * c(3) + 0.0722 * c(5)
        };
        let steps: Vec<f64> = (0..=40).map(|i| light(f64::from(i) / 40.0)).collect();
        assert!(steps.windows(2).all(|w| w[0] < w[1]), "{steps:?}");
    }
}
