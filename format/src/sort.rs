//! A sort that is small in the program.

/// Sorts indices by `less`, which says whether the first comes before the second: a heapsort (Williams 1964), for which no order
/// of the input is slow. The standard library's sorts are faster, but each comparison that they are used with takes 10 to 15 KB of
/// the program; this serves where sorting is rare or short.
pub fn indices(indices: &mut [u32], less: &dyn Fn(u32, u32) -> bool) {
    for root in (0..indices.len() / 2).rev() {
        sift_down(indices, root, less);
    }
    for end in (1..indices.len()).rev() {
        indices.swap(0, end);
        sift_down(&mut indices[..end], 0, less);
    }
}

/// Moves the element at `root` down until no child comes after it.
fn sift_down(heap: &mut [u32], mut root: usize, less: &dyn Fn(u32, u32) -> bool) {
    loop {
        let mut child = 2 * root + 1;
        if child >= heap.len() {
            return;
        }
        if child + 1 < heap.len() && less(heap[child], heap[child + 1]) {
            child += 1;
        }
        if !less(heap[root], heap[child]) {
            return;
        }
        heap.swap(root, child);
        root = child;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_sorts(mut found in prop::collection::vec(0u32..50, 0..200)) {
            let mut expected = found.clone();
            expected.sort_unstable();
            super::indices(&mut found, &|a, b| a < b);
            prop_assert_eq!(found, expected);
        }
    }
}
