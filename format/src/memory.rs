//! Allocations whose size comes from a file or a text: refused by the system, they are an error, never an abort.

use std::fmt;

/// The system has no memory of that size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory {
    /// Bytes asked for.
    pub bytes: usize,
}

impl fmt::Display for NoMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the system has no {} bytes of memory left; close other programs or use a smaller model",
            self.bytes
        )
    }
}

impl std::error::Error for NoMemory {}

/// Room for at least `n` more elements.
///
/// # Errors
/// [`NoMemory`], with nothing changed.
pub fn reserve<T>(vec: &mut Vec<T>, n: usize) -> Result<(), NoMemory> {
    let bytes = vec.len().saturating_add(n).saturating_mul(size_of::<T>());
    vec.try_reserve(n).map_err(|_| NoMemory { bytes })
}

/// An empty vector with room for exactly `n` elements.
///
/// # Errors
/// [`NoMemory`].
pub fn with_capacity<T>(n: usize) -> Result<Vec<T>, NoMemory> {
    let mut vec = Vec::new();
    match vec.try_reserve_exact(n) {
        Ok(()) => Ok(vec),
        Err(_) => Err(NoMemory { bytes: n.saturating_mul(size_of::<T>()) }),
    }
}

/// The elements of an iterator that knows how many it has.
///
/// # Errors
/// [`NoMemory`].
pub fn collect<T>(elements: impl ExactSizeIterator<Item = T>) -> Result<Vec<T>, NoMemory> {
    let mut vec = with_capacity(elements.len())?;
    vec.extend(elements);
    Ok(vec)
}

/// `n` times the same element.
///
/// # Errors
/// [`NoMemory`].
pub fn repeated<T: Clone>(element: T, n: usize) -> Result<Vec<T>, NoMemory> {
    let mut vec = with_capacity(n)?;
    vec.resize(n, element);
    Ok(vec)
}

/// A copy of a text.
///
/// # Errors
/// [`NoMemory`].
pub fn text(text: &str) -> Result<String, NoMemory> {
    let mut copy = String::new();
    copy.try_reserve_exact(text.len()).map_err(|_| NoMemory { bytes: text.len() })?;
    copy.push_str(text);
    Ok(copy)
}

/// Appends an element.
///
/// # Errors
/// [`NoMemory`]; the element is lost.
pub fn push<T>(vec: &mut Vec<T>, element: T) -> Result<(), NoMemory> {
    reserve(vec, 1)?;
    vec.push(element);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_an_error() {
        assert_eq!(with_capacity::<u64>(usize::MAX), Err(NoMemory { bytes: usize::MAX }));
        let mut some = vec![1u8];
        assert_eq!(reserve(&mut some, usize::MAX - 1), Err(NoMemory { bytes: usize::MAX }));
        assert_eq!(some, [1]);
    }

    #[test]
    fn what_can_be_had_is_given() {
        assert_eq!(collect([1, 2].iter()), Ok(vec![&1, &2]));
        assert_eq!(repeated('a', 2), Ok(vec!['a', 'a']));
        assert_eq!(text("siskin").as_deref(), Ok("siskin"));
        let mut some = Vec::new();
        push(&mut some, 5).unwrap();
        assert_eq!(some, [5]);
    }
}
