//! Reading forwards through bytes that may end anywhere.

/// What a file is that ends too early.
pub(crate) const CUT: &str = "it is cut short or damaged, get it again";

/// More bytes were asked for than are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short {
    pub(crate) wanted: u64,
    pub(crate) left: usize,
}

impl From<Short> for String {
    fn from(Short { wanted, left }: Short) -> String {
        format!("{wanted} bytes are expected, but the file ends after {left}; {CUT}")
    }
}

/// A place in the bytes of a file.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0 }
    }

    /// Offset from the start.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Bytes that are left.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: u64) -> Result<&'a [u8], Short> {
        let short = Short { wanted: len, left: self.left() };
        let len = usize::try_from(len).map_err(|_| short)?;
        let end = self.at.checked_add(len).ok_or(short)?;
        let bytes = self.bytes.get(self.at..end).ok_or(short)?;
        self.at = end;
        Ok(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        Ok(self.take(N as u64)?.try_into().expect("as many bytes as were taken"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Short> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Short> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Short> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A length and so many bytes.
    pub(crate) fn string(&mut self) -> Result<&'a [u8], String> {
        let len = self.u64()?;
        self.take(len).map_err(|Short { left, .. }| {
            format!("a string claims {len} bytes, but the file ends after {left}; {CUT}")
        })
    }

    /// The bytes between here and `later`, a copy of this cursor that moved on.
    pub(crate) fn since(&self, later: &Cursor<'a>) -> &'a [u8] {
        &self.bytes[self.at..later.at]
    }
}
