//! Buffers that go round: a training step takes what the step before gave back, and allocates nothing.

/// Free buffers, kept by exact length (shapes repeat from step to step).
#[derive(Debug, Default)]
pub struct Pool<T> {
    free: Vec<(usize, Vec<Vec<T>>)>, // (length, buffers of that length)
    allocated: usize,
}

impl<T: Copy + Default> Pool<T> {
    /// An empty pool.
    pub fn new() -> Self {
        Pool { free: Vec::new(), allocated: 0 }
    }

    /// A buffer of `len` elements whose contents mean nothing.
    pub fn take(&mut self, len: usize) -> Vec<T> {
        let reused = self.free.iter_mut().find(|(l, _)| *l == len).and_then(|(_, list)| list.pop());
        reused.unwrap_or_else(|| {
            self.allocated += len;
            vec![T::default(); len]
        })
    }

    /// A buffer of `len` zeros.
    pub fn take_zeroed(&mut self, len: usize) -> Vec<T> {
        let mut buffer = self.take(len);
        buffer.fill(T::default());
        buffer
    }

    /// A buffer that holds a copy of `source`.
    pub fn take_copy(&mut self, source: &[T]) -> Vec<T> {
        let mut buffer = self.take(source.len());
        buffer.copy_from_slice(source);
        buffer
    }

    /// Gives a buffer back. Empty ones vanish.
    pub fn give(&mut self, buffer: Vec<T>) {
        if buffer.is_empty() {
            return;
        }
        match self.free.iter_mut().find(|(len, _)| *len == buffer.len()) {
            Some((_, list)) => list.push(buffer),
            None => self.free.push((buffer.len(), vec![buffer])),
        }
    }

    /// Elements ever allocated through this pool, minus what [`Pool::clear`] dropped: its high-water mark.
    pub fn allocated(&self) -> usize {
        self.allocated
    }

    /// Drops every free buffer, for when the shapes of a batch change for good.
    pub fn clear(&mut self) {
        let dropped: usize = self.free.iter().map(|(len, list)| len * list.len()).sum();
        self.allocated -= dropped.min(self.allocated);
        self.free.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_reused_by_length() {
        let mut pool = Pool::<f32>::new();
        let (a, b) = (pool.take(8), pool.take(8));
        let address = a.as_ptr();
        pool.give(a);
        let again = pool.take(8);
        assert_eq!(again.as_ptr(), address);
        assert_eq!(pool.take_zeroed(4), [0.0; 4]);
        assert_eq!(pool.allocated(), 20);
        pool.give(b);
        pool.clear();
        assert_eq!(pool.allocated(), 12);
    }
}
