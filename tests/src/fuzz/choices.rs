//! Bytes read as choices: what turns the bytes of a fuzzer into something with a structure.

/// Takes choices from the front of some bytes; after their end every choice is 0.
#[derive(Clone, Debug)]
pub struct Choices<'a> {
    rest: &'a [u8],
}

/// Numbers at which arithmetic goes wrong; [`Choices::number`] also gives their neighbours.
const EDGES: [u64; 16] = [
    0,
    1,
    8,
    32,
    64,
    127,
    255,
    1 << 12,
    1 << 16,
    1 << 20,
    1 << 24,
    1 << 31,
    1 << 32,
    1 << 61,
    1 << 63,
    u64::MAX,
];

/// Floats at which arithmetic goes wrong.
const FLOATS: [f32; 16] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1e-30,
    1e30,
    f32::MIN_POSITIVE,
    1e-45,
    -1e-45,
    f32::MAX,
    f32::MIN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    f32::EPSILON,
];

impl<'a> Choices<'a> {
    /// The choices that `bytes` stand for.
    pub fn new(bytes: &'a [u8]) -> Choices<'a> {
        Choices { rest: bytes }
    }

    /// Whether any byte is left.
    pub fn any(&self) -> bool {
        !self.rest.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((&byte, rest)) => {
                self.rest = rest;
                byte
            }
            None => 0,
        }
    }

    /// One of two, from a whole byte: the lowest bit.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// An index below `n`, 0 when there is none.
    pub fn below(&mut self, n: usize) -> usize {
        let wide = if n > 256 { usize::from(self.byte()) << 8 } else { 0 };
        (wide | usize::from(self.byte())) % n.max(1)
    }

    /// One of the elements.
    ///
    /// # Panics
    /// When there is none.
    pub fn one_of<T: Copy>(&mut self, elements: &[T]) -> T {
        elements[self.below(elements.len())]
    }

    /// The next 8 bytes as a number.
    pub fn u64(&mut self) -> u64 {
        (0..8).fold(0, |n, _| n << 8 | u64::from(self.byte()))
    }

    /// A number that is small, or near an edge, or any.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            0..=95 => u64::from(self.byte()) % 24,
            96..=239 => {
                let near = self.byte();
                EDGES[usize::from(near & 15)].wrapping_add(u64::from(near >> 4 & 7)).wrapping_sub(3)
            }
            _ => self.u64(),
        }
    }

    /// A float that is ordinary, or an edge, or any bits.
    pub fn float(&mut self) -> f32 {
        match self.byte() {
            0..=159 => (f32::from(self.byte()) - 128.0) / 16.0,
            160..=231 => self.one_of(&FLOATS),
            _ => f32::from_bits(self.u64() as u32),
        }
    }

    /// At most `n` bytes as they are.
    pub fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(n.min(self.rest.len()));
        self.rest = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_end_in_zeros() {
        let mut choices = Choices::new(&[3, 200, 7, 5]);
        assert_eq!((choices.byte(), choices.below(150), choices.flag()), (3, 50, true));
        assert!(choices.any());
        assert_eq!(choices.bytes(9), [5]);
        assert!(!choices.any());
        assert_eq!((choices.byte(), choices.below(9), choices.below(0), choices.u64()), (0, 0, 0, 0));
        assert_eq!(choices.number(), 0);
    }
}
