//! What a process costs, as the system tells it.
//!
//! Enter: a process id. Leave: CPU time and resident memory of the process and its descendants. Never: a
//! guess: where `/proc` is missing there is no figure.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// A process and its descendants, as they were when this was made.
#[derive(Clone, Debug)]
pub(crate) struct Processes(Vec<u32>);

/// CPU time by thread, in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct CpuTime(HashMap<(u32, u32), u64>);

impl Processes {
    /// `root` and all its descendants; none where they cannot be told.
    pub(crate) fn of(root: u32) -> Option<Self> {
        fs::metadata(format!("/proc/{root}")).ok()?;
        let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
            .ok()?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|pid| Some((pid, parent(pid)?)))
            .collect();
        let mut family = vec![root];
        let mut at = 0;
        while let Some(elder) = family.get(at).copied() {
            let children = parents
                .iter()
                .filter(|(pid, parent)| *parent == elder && !family.contains(pid));
            let children: Vec<u32> = children.map(|(pid, _)| *pid).collect();
            family.extend(children);
            at += 1;
        }
        Some(Self(family))
    }

    /// The time their threads have run, up to now.
    ///
    /// From `/proc/PID/task/TID/schedstat`, to the nanosecond; where the kernel keeps none, from user and
    /// system time in `/proc/PID/stat`, which are told in hundredths of a second.
    pub(crate) fn cpu(&self) -> CpuTime {
        let mut times = HashMap::new();
        for pid in &self.0 {
            let threads = threads(*pid);
            if threads.is_empty() {
                times.extend(ticks(*pid).map(|nanos| ((*pid, 0), nanos)));
            }
            times.extend(threads.into_iter().map(|(tid, nanos)| ((*pid, tid), nanos)));
        }
        CpuTime(times)
    }

    /// Resident memory in bytes, summed: what processes share counts in each.
    pub(crate) fn resident(&self) -> Option<u64> {
        let each = self.0.iter().filter_map(|pid| resident(*pid));
        each.reduce(u64::saturating_add)
    }
}

impl CpuTime {
    /// The time that has been used since `earlier`. A thread that ended in between is missing; one that began
    /// counts whole. None when nothing could be read.
    pub(crate) fn since(&self, earlier: &Self) -> Option<Duration> {
        if self.0.is_empty() {
            return None;
        }
        let used = self.0.iter().map(|(thread, now)| {
            let then = earlier.0.get(thread).copied().unwrap_or_default();
            now.saturating_sub(then)
        });
        Some(Duration::from_nanos(used.sum()))
    }
}

/// What a measured part cost, where the system tells it.
#[derive(Clone, Debug, Default)]
pub struct Costs {
    /// CPU time of the gateway's processes.
    pub gateway: Option<Duration>,
    /// CPU time of this process: the generator and, when it is built in, the upstream.
    pub own: Option<Duration>,
    /// CPU time of everything else on the machine: of an upstream that is not built in, and of whatever makes
    /// the measurement worth less.
    pub other: Option<Duration>,
    /// Resident memory of the gateway's processes at the end, in bytes.
    pub resident: Option<u64>,
}

impl Costs {
    /// Adds another part's times, and keeps the larger memory.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.gateway = sum(self.gateway, other.gateway);
        self.own = sum(self.own, other.own);
        self.other = sum(self.other, other.other);
        self.resident = self.resident.max(other.resident);
    }
}

fn sum(left: Option<Duration>, right: Option<Duration>) -> Option<Duration> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left + right),
        (left, right) => left.or(right),
    }
}

/// Where the clocks of all processes stood at the beginning of a part.
pub(crate) struct Meter {
    gateway: Option<(Processes, CpuTime)>,
    own: Option<Duration>,
    machine: Option<Duration>,
}

impl Meter {
    /// Begins, with this process and its descendants as the gateway.
    pub(crate) fn start(gateway: Option<u32>) -> Self {
        let gateway = gateway.and_then(Processes::of).map(|processes| {
            let cpu = processes.cpu();
            (processes, cpu)
        });
        Self {
            gateway,
            own: own_cpu(),
            machine: machine_cpu(),
        }
    }

    /// What was used since the beginning.
    pub(crate) fn read(&self) -> Costs {
        let since = |now: Option<Duration>, then: Option<Duration>| {
            now.zip(then).map(|(now, then)| now.saturating_sub(then))
        };
        let own = since(own_cpu(), self.own);
        let gateway = self.gateway.as_ref();
        let used = gateway.and_then(|(processes, then)| processes.cpu().since(then));
        let known = own.unwrap_or_default() + used.unwrap_or_default();
        Costs {
            gateway: used,
            own,
            other: since(machine_cpu(), self.machine).map(|all| all.saturating_sub(known)),
            resident: gateway.and_then(|(processes, _)| processes.resident()),
        }
    }
}

/// CPU time of this process, up to now.
fn own_cpu() -> Option<Duration> {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(spent.tv_sec).ok()?;
    let nanos = u64::try_from(spent.tv_nsec).ok()?;
    Some(Duration::from_secs(seconds) + Duration::from_nanos(nanos))
}

/// CPU time of everything on this machine, up to now, and what a hypervisor took away from it.
fn machine_cpu() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let times: Vec<u64> = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace()
        .filter_map(|ticks| ticks.parse().ok())
        .collect();
    // Not idle and iowait, which are no work, nor guests, which are in user (proc_stat(5)).
    let [user, nice, system, _, _, irq, softirq, steal] = *times.first_chunk()?;
    nanos_of(user + nice + system + irq + softirq + steal).map(Duration::from_nanos)
}

/// The threads of a process and the nanoseconds each has run.
fn threads(pid: u32) -> Vec<(u32, u64)> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let ran = |tid: u32| -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    tasks
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|tid| Some((tid, ran(tid)?)))
        .collect()
}

/// User and system time of a process, in nanoseconds.
fn ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let [user, system] = [11, 12].map(|place| field(&stat, place).and_then(|n| n.parse().ok()));
    let (user, system): (u64, u64) = user.zip(system)?;
    nanos_of(user + system)
}

fn nanos_of(ticks: u64) -> Option<u64> {
    ticks
        .checked_mul(1_000_000_000)?
        .checked_div(rustix::param::clock_ticks_per_second())
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    field(&stat, 1)?.parse().ok()
}

/// A field after the command's name, which may hold spaces and brackets itself; the state is number 0.
fn field(stat: &str, place: usize) -> Option<&str> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(place)
}

fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kibibytes.checked_mul(1_024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) (b c) S 3 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0";
        assert_eq!(field(stat, 1), Some("3"));
        assert_eq!(field(stat, 11), Some("250"));
        assert_eq!(field(stat, 12), Some("50"));
    }

    #[test]
    fn this_process_uses_time_and_memory() {
        let own = std::process::id();
        let processes = Processes::of(own).unwrap();
        let before = processes.cpu();
        let begin = std::time::Instant::now();
        let mut work = 0_u64;
        while begin.elapsed() < Duration::from_millis(30) {
            work = std::hint::black_box(work.wrapping_add(1));
        }
        assert!(processes.cpu().since(&before).unwrap() > Duration::from_millis(1));
        assert!(processes.resident().unwrap() > 100_000);
        assert!(ticks(own).is_some());
        assert!(own_cpu().unwrap() > Duration::ZERO);
        assert!(machine_cpu().unwrap() > Duration::ZERO);
    }

    #[test]
    fn parts_cost_together_what_each_cost() {
        let mut costs = Meter::start(None).read();
        assert!(costs.own.is_some() && costs.other.is_some() && costs.gateway.is_none());
        costs.own = Some(Duration::from_secs(1));
        let more = Costs {
            own: Some(Duration::from_secs(2)),
            gateway: Some(Duration::from_secs(3)),
            resident: Some(4),
            ..Costs::default()
        };
        costs.merge(&more);
        assert_eq!(costs.own, Some(Duration::from_secs(3)));
        assert_eq!(costs.gateway, Some(Duration::from_secs(3)));
        assert_eq!(costs.resident, Some(4));
    }

    #[test]
    fn a_child_belongs_to_the_family() {
        let mut child = std::process::Command::new("sleep")
            .arg("10")
            .spawn()
            .unwrap();
        let family = Processes::of(std::process::id()).unwrap();
        let found = family.0.contains(&child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found);
    }

    #[test]
    fn who_is_not_there_has_no_figures() {
        assert!(Processes::of(u32::MAX).is_none());
    }
}
