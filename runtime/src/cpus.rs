//! Which CPUs are worth a thread: one per physical core, and only the big ones where cores differ in size.
//!
//! Two threads of one core share its multipliers, and a step waits for its slowest thread, so neither siblings nor little
//! cores make it faster. Linux describes its CPUs under `/sys/devices/system/cpu`; elsewhere every CPU counts.

use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::path::Path;
use std::sync::OnceLock;

/// A core is big when its capacity is at least this part of the greatest one's: the middle cores of three kinds count.
const BIG: f64 = 0.6;

/// The number of threads to use when nobody says: one for each of [`cores`], and not more than this process's share of
/// CPU time (`available_parallelism` knows both the affinity mask and the quota of a control group).
pub(crate) fn default_threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| {
        let available = std::thread::available_parallelism().map_or(1, |n| n.get());
        if cores().is_empty() { available } else { cores().len().min(available) }
    })
}

/// The big physical cores that this process may run on, each named by its first CPU; none where the system does not
/// tell. Asked once: a thread that is bound to a core later sees no other.
pub(crate) fn cores() -> &'static [usize] {
    static CORES: OnceLock<Vec<usize>> = OnceLock::new();
    CORES.get_or_init(|| {
        let allowed = read_to_string("/proc/self/status").ok().and_then(|status| allowed(&status));
        allowed.map_or(Vec::new(), |allowed| big_cores(Path::new("/sys/devices"), allowed))
    })
}

/// The CPUs of the affinity mask, out of `/proc/self/status`.
fn allowed(status: &str) -> Option<BTreeSet<usize>> {
    list(status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?)
}

/// The big cores among the `allowed` CPUs of the machine that `devices` describes.
fn big_cores(devices: &Path, mut allowed: BTreeSet<usize>) -> Vec<usize> {
    // Intel's hybrid chips list their big cores.
    let performance = read_to_string(devices.join("cpu_core/cpus")).ok().and_then(|text| list(&text));
    if let Some(big) = performance.filter(|big| !big.is_disjoint(&allowed)) {
        allowed.retain(|cpu| big.contains(cpu));
    }
    let cpus: Vec<Cpu> = allowed.iter().filter_map(|&id| Cpu::read(devices, id, &allowed)).collect();
    let largest = cpus.iter().map(|cpu| cpu.capacity).fold(0.0, f64::max);
    cpus.iter().filter(|cpu| cpu.is_first && cpu.capacity >= BIG * largest).map(|cpu| cpu.id).collect()
}

/// What decides about one CPU.
struct Cpu {
    id: usize,
    /// Whether no allowed CPU of the same core has a smaller number.
    is_first: bool,
    /// How fast it is beside the others, as ARM's systems tell.
    capacity: f64,
}

impl Cpu {
    fn read(devices: &Path, id: usize, allowed: &BTreeSet<usize>) -> Option<Cpu> {
        let folder = devices.join(format!("system/cpu/cpu{id}"));
        let siblings = ["core_cpus_list", "thread_siblings_list"]
            .iter()
            .find_map(|name| read_to_string(folder.join("topology").join(name)).ok())?;
        let first = list(&siblings)?.into_iter().find(|cpu| allowed.contains(cpu))?;
        let capacity = read_to_string(folder.join("cpu_capacity")).ok();
        let capacity = capacity.and_then(|text| text.trim().parse().ok()).unwrap_or(1.0);
        Some(Cpu { id, is_first: first == id, capacity })
    }
}

/// A list such as `0-3,8`; `None` when it is none.
fn list(text: &str) -> Option<BTreeSet<usize>> {
    let mut cpus = BTreeSet::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last - first.min(last) > 1 << 16 {
            return None; // no machine has as many
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// What a machine shows of one CPU: the threads of its core, and its capacity.
    type Shown = (&'static str, Option<u32>);

    /// A copy of a machine's tree in a folder that goes away.
    struct Tree(PathBuf);

    impl Tree {
        fn new(cpus: &[Shown]) -> Tree {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let name =
                format!("siskin-cpus-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let tree = Tree(std::env::temp_dir().join(name));
            for (id, (siblings, capacity)) in cpus.iter().enumerate() {
                let cpu = format!("system/cpu/cpu{id}");
                tree.write(&format!("{cpu}/topology/thread_siblings_list"), siblings);
                if let Some(capacity) = capacity {
                    tree.write(&format!("{cpu}/cpu_capacity"), &capacity.to_string());
                }
            }
            tree
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        }

        fn cores(&self, allowed: &str) -> Vec<usize> {
            big_cores(&self.0, list(allowed).unwrap())
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn raspberry_pis_have_four_equal_cores() {
        let pi4 = Tree::new(&["0", "1", "2", "3"].map(|id| (id, None)));
        assert_eq!(pi4.cores("0-3"), [0, 1, 2, 3]);
        let pi5 = Tree::new(&["0", "1", "2", "3"].map(|id| (id, Some(1024))));
        assert_eq!(pi5.cores("0-3"), [0, 1, 2, 3]);
        assert_eq!(pi5.cores("1,3"), [1, 3], "a mask is respected");
    }

    #[test]
    fn an_rk3588_has_four_big_cores_behind_four_little_ones() {
        let cores = ["0", "1", "2", "3", "4", "5", "6", "7"];
        let mut capacities = [530, 530, 530, 530, 1024, 1024, 1024, 1024].into_iter();
        let tree = Tree::new(&cores.map(|id| (id, capacities.next())));
        assert_eq!(tree.cores("0-7"), [4, 5, 6, 7]);
        assert_eq!(tree.cores("0-3"), [0, 1, 2, 3], "bound to the little ones, they are what there is");
    }

    #[test]
    fn an_intel_hybrid_has_two_threads_on_each_big_core() {
        let tree = Tree::new(&["0-1", "0-1", "2-3", "2-3", "4", "5"].map(|threads| (threads, None)));
        tree.write("cpu_core/cpus", "0-3");
        tree.write("cpu_atom/cpus", "4-5");
        assert_eq!(tree.cores("0-5"), [0, 2]);
        assert_eq!(tree.cores("4-5"), [4, 5], "bound to the little ones, they are what there is");
    }

    #[test]
    fn a_server_with_two_threads_a_core_counts_cores() {
        let pairs = ["0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"];
        let tree = Tree::new(&pairs.map(|pair| (pair, None)));
        assert_eq!(tree.cores("0-7"), [0, 1, 2, 3]);
        assert_eq!(tree.cores("4-7"), [4, 5, 6, 7], "the other threads of the cores");
    }

    #[test]
    fn a_machine_that_shows_nothing_has_no_known_cores() {
        assert!(big_cores(Path::new("/nowhere"), [0, 1].into()).is_empty());
        assert!(default_threads() >= 1);
    }

    #[test]
    fn lists_are_read() {
        assert_eq!(list("0-2,5\n"), Some([0, 1, 2, 5].into()));
        assert_eq!(allowed("Name:\tx\nCpus_allowed_list:\t0,2-3\n"), Some([0, 2, 3].into()));
        for bad in ["", "a", "1-", "0-99999999999"] {
            assert_eq!(list(bad), None, "{bad}");
        }
    }
}
