//! Threads that share the work of one kernel after another.
//!
//! A training step is some thousand kernels of a few microseconds each, one after another. To put a thread to sleep and to
//! wake it takes as long as such a kernel, so between two kernels the threads of a team wait awake for a moment.

use std::cell::{RefCell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::simd::{Shared, written};

/// How long threads wait awake for the next work.
const AWAKE: Duration = Duration::from_micros(200);
/// Looks at the next work between two looks at the clock.
const LOOKS: usize = 32;
/// Shares of the work of each thread: more even out how long they take.
const SHARES: usize = 8;

/// Does work for each number below `count`, on all threads of the processor. What is done must not depend on the order.
///
/// Work from within work, and work while another thread's is done, is done by the calling thread alone.
pub fn each(count: usize, work: impl Fn(usize) + Sync) {
    team().each(count, &work);
}

/// Does work on each item of a list.
pub fn each_of<T: Sync>(items: &[T], work: impl Fn(usize, &T) + Sync) {
    each(items.len(), |i| work(i, &items[i]));
}

/// Does work on each chunk of values; the last may be shorter.
pub fn each_chunk<T: Send>(values: &mut [T], length: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    let (start, all) = (Shared(values.as_mut_ptr()), values.len());
    each(all.div_ceil(length), |i| {
        let first = i * length;
        // SAFETY: each chunk is borrowed once, and the values are ours until all work is done.
        work(i, unsafe { std::slice::from_raw_parts_mut(start.at(first), length.min(all - first)) });
    });
}

/// Values that are written chunk by chunk; the last may be shorter. To zero them first would send them through memory once more.
///
/// # Safety
/// `work` must write all of a chunk, and read nothing of it before.
pub unsafe fn made_of_chunks(all: usize, length: usize, work: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let fill = |target: Shared| {
        each(all.div_ceil(length), |i| {
            let first = i * length;
            // SAFETY: each chunk has a place of its own.
            work(i, unsafe { std::slice::from_raw_parts_mut(target.at(first), length.min(all - first)) });
        });
    };
    // SAFETY: the chunks are all of it.
    unsafe { written(all, fill) }
}

/// Does two works at a time, the kernels of each on half of the threads. Threads that share one small kernel after
/// another wait for each other more than those that have work of their own.
///
/// An odd number of threads does one work after the other.
pub fn both<A: Send, B: Send>(first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B + Send) -> (A, B) {
    let team = team();
    let Some(Halves { leaders, teams }) = team.halves() else {
        return (first(), second());
    };
    let works = (Mutex::new(Some(first)), Mutex::new(Some(second)));
    let results = (Mutex::new(None), Mutex::new(None));
    leaders.each(2, &|i| {
        let team = teams[i].clone();
        if i == 0 {
            once(&works.0, &results.0, team);
        } else {
            once(&works.1, &results.1, team);
        }
    });
    let done = "each number came once";
    let unlocked = "a panic came out of the team before";
    (results.0.into_inner().expect(unlocked).expect(done), results.1.into_inner().expect(unlocked).expect(done))
}

/// Does a work with a team, and keeps its result.
fn once<A>(work: &Mutex<Option<impl FnOnce() -> A>>, result: &Mutex<Option<A>>, team: Arc<Team>) {
    let work = work.lock().expect("nobody else has this work").take().expect("each number comes once");
    let done = with_team(team, work);
    *result.lock().expect("nobody else has this result") = Some(done);
}

/// Threads that share work, the calling one included.
pub fn threads() -> usize {
    team().threads
}

thread_local! {
    /// The team of this thread, where it is not that of the whole processor.
    static CHOSEN: RefCell<Option<Arc<Team>>> = const { RefCell::new(None) };
}

/// Does a work whose kernels this team shares.
fn with_team<R>(team: Arc<Team>, work: impl FnOnce() -> R) -> R {
    /// Gives the former team back, also after a panic.
    struct Back(Option<Arc<Team>>);
    impl Drop for Back {
        fn drop(&mut self) {
            CHOSEN.set(self.0.take());
        }
    }
    let _back = Back(CHOSEN.replace(Some(team)));
    work()
}

fn team() -> Arc<Team> {
    static TEAM: OnceLock<Arc<Team>> = OnceLock::new();
    if let Some(team) = CHOSEN.with_borrow(Clone::clone) {
        return team;
    }
    TEAM.get_or_init(|| Team::new(std::thread::available_parallelism().map_or(1, usize::from))).clone()
}

/// The state bit of work that threads may join; the bits below count those inside.
const OPEN: u32 = 1 << 31;

struct Team {
    threads: usize,
    sleepers: OnceLock<Vec<Sleeper>>,
    /// Whether somebody's work is being done.
    busy: AtomicBool,
    /// Whether work is open, and how many threads are inside.
    state: AtomicU32,
    /// Counts works, so that no thread joins one twice.
    number: AtomicU32,
    /// The first share that nobody has taken.
    next: AtomicUsize,
    /// The work: written while it is not open, read by threads that are inside.
    work: UnsafeCell<Work>,
    /// Whether a thread panicked in it.
    failed: AtomicBool,
    ended: AtomicBool,
    halves: OnceLock<Halves>,
}

/// What does two works at a time.
struct Halves {
    /// Two threads that lead.
    leaders: Arc<Team>,
    /// Those that help each of them.
    teams: [Arc<Team>; 2],
}

struct Sleeper {
    thread: Thread,
    asleep: Arc<AtomicBool>,
}

#[derive(Clone, Copy)]
struct Work {
    /// Whoever waits for the work to end keeps it alive.
    function: *const (dyn Fn(usize) + Sync),
    count: usize,
    share: usize,
}

// SAFETY: `work` is written by the one thread that made `busy` true, while nobody is inside; the function may be called
// from several threads.
unsafe impl Send for Team {}
// SAFETY: as above.
unsafe impl Sync for Team {}

impl Team {
    fn new(threads: usize) -> Arc<Self> {
        let team = Arc::new(Self {
            threads,
            sleepers: OnceLock::new(),
            busy: AtomicBool::new(false),
            state: AtomicU32::new(0),
            number: AtomicU32::new(0),
            next: AtomicUsize::new(0),
            work: UnsafeCell::new(Work { function: &|_| (), count: 0, share: 1 }),
            failed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            halves: OnceLock::new(),
        });
        let sleepers = (1..threads).map_while(|_| {
            let (team, asleep) = (team.clone(), Arc::new(AtomicBool::new(false)));
            let flag = asleep.clone();
            let spawned = std::thread::Builder::new().name("kernels".into()).spawn(move || team.serve(&flag));
            // With fewer threads it takes longer.
            spawned.ok().map(|handle| Sleeper { thread: handle.thread().clone(), asleep })
        });
        let sleepers = sleepers.collect();
        team.sleepers.set(sleepers).unwrap_or_else(|_| unreachable!("they are set once"));
        team
    }

    /// This team as two, where it can be halved.
    fn halves(&self) -> Option<&Halves> {
        let halved = || Halves { leaders: Self::new(2), teams: [(); 2].map(|()| Self::new(self.threads / 2)) };
        self.threads.is_multiple_of(2).then(|| self.halves.get_or_init(halved))
    }

    /// Sends the threads home.
    #[cfg(test)]
    fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.sleepers.get().into_iter().flatten().for_each(|sleeper| sleeper.thread.unpark());
        if let Some(Halves { leaders, teams }) = self.halves.get() {
            leaders.end();
            teams.iter().for_each(|team| team.end());
        }
    }

    fn each(&self, count: usize, function: &(dyn Fn(usize) + Sync)) {
        if count < 2 || self.threads < 2 || self.busy.swap(true, Ordering::Acquire) {
            (0..count).for_each(function);
            return;
        }
        let work = Work {
            // SAFETY: only the lifetime changes. Nobody is inside any more when this function returns.
            function: unsafe {
                std::mem::transmute::<*const (dyn Fn(usize) + Sync), *const (dyn Fn(usize) + Sync + 'static)>(function)
            },
            count,
            share: (count / (SHARES * self.threads)).max(1),
        };
        // SAFETY: `busy` is ours, and the work is not open.
        unsafe { *self.work.get() = work };
        self.next.store(0, Ordering::Relaxed);
        self.failed.store(false, Ordering::Relaxed);
        self.state.fetch_or(OPEN, Ordering::Release);
        self.number.fetch_add(1, Ordering::SeqCst);
        for sleeper in self.sleepers.get().into_iter().flatten() {
            if sleeper.asleep.load(Ordering::SeqCst) {
                sleeper.thread.unpark();
            }
        }
        let ours = catch_unwind(AssertUnwindSafe(|| self.help(work)));
        self.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut looks = 0usize;
        while self.state.load(Ordering::Acquire) != 0 {
            looks += 1;
            pause(looks);
        }
        let failed = self.failed.load(Ordering::Relaxed);
        self.busy.store(false, Ordering::Release);
        if let Err(panic) = ours {
            resume_unwind(panic);
        }
        assert!(!failed, "a thread of a kernel panicked");
    }

    /// Does shares of the work until none are left.
    fn help(&self, Work { function, count, share }: Work) {
        // SAFETY: whoever calls this is inside, so the function is alive.
        let function = unsafe { &*function };
        loop {
            let first = self.next.fetch_add(share, Ordering::Relaxed);
            if first >= count {
                return;
            }
            (first..(first + share).min(count)).for_each(function);
        }
    }

    /// What a thread of the team does all its life.
    fn serve(&self, asleep: &AtomicBool) {
        let mut known = 0;
        while !self.ended.load(Ordering::Relaxed) {
            known = self.wait(known, asleep);
            if self.state.fetch_add(1, Ordering::AcqRel) & OPEN != 0 {
                // SAFETY: the work was open when we came inside, and is not written before we leave.
                let work = unsafe { *self.work.get() };
                if catch_unwind(AssertUnwindSafe(|| self.help(work))).is_err() {
                    self.failed.store(true, Ordering::Relaxed);
                }
            }
            self.state.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Waits for a work with another number than the known one.
    fn wait(&self, known: u32, asleep: &AtomicBool) -> u32 {
        let (mut began, mut looks) = (None, 0usize);
        loop {
            let number = self.number.load(Ordering::SeqCst);
            if number != known || self.ended.load(Ordering::SeqCst) {
                return number;
            }
            looks += 1;
            pause(looks);
            if looks.is_multiple_of(LOOKS) && began.get_or_insert_with(Instant::now).elapsed() > AWAKE {
                asleep.store(true, Ordering::SeqCst);
                while self.number.load(Ordering::SeqCst) == known && !self.ended.load(Ordering::SeqCst) {
                    std::thread::park();
                }
                asleep.store(false, Ordering::SeqCst);
            }
        }
    }
}

/// Waits a moment, and now and then lets another thread have this processor.
fn pause(looks: usize) {
    if looks.is_multiple_of(LOOKS) {
        std::thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Does something with a team of so many threads.
    pub fn with_threads<R>(threads: usize, work: impl FnOnce() -> R) -> R {
        let team = Team::new(threads);
        let result = with_team(team.clone(), work);
        team.end();
        result
    }

    #[test]
    fn every_number_comes_once() {
        for threads in [1, 2, 3, 7] {
            with_threads(threads, || {
                for count in (0..100).chain([1000, 10_007]) {
                    let seen: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                    each(count, |i| {
                        let _ = seen[i].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(seen.into_iter().all(|seen| seen.into_inner() == 1));
                }
            });
        }
    }

    #[test]
    fn work_after_a_sleep_is_done() {
        with_threads(3, || {
            for _ in 0..3 {
                std::thread::sleep(5 * AWAKE);
                let sum = AtomicUsize::new(0);
                each(100, |i| {
                    let _ = sum.fetch_add(i, Ordering::Relaxed);
                });
                assert_eq!(sum.into_inner(), 4950);
            }
        });
    }

    #[test]
    fn several_threads_work_at_a_time_where_there_are_some() {
        with_threads(2, || {
            let barrier = std::sync::Barrier::new(2);
            each(2, |_| {
                barrier.wait();
            });
        });
    }

    #[test]
    fn work_within_work_and_beside_work_is_done() {
        let sum = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    each(10, |_| {
                        each(10, |i| {
                            let _ = sum.fetch_add(i, Ordering::Relaxed);
                        })
                    })
                });
            }
        });
        assert_eq!(sum.into_inner(), 4 * 450);
    }

    #[test]
    fn two_works_are_done_at_a_time_by_half_of_the_threads_each() {
        for count in [1, 2, 3, 4, 6] {
            with_threads(count, || {
                let halved = if count.is_multiple_of(2) { count / 2 } else { count };
                let barrier = std::sync::Barrier::new(if count.is_multiple_of(2) { 2 } else { 1 });
                let work = |which: usize| {
                    barrier.wait();
                    let sum = AtomicUsize::new(0);
                    each(100, |i| {
                        let _ = sum.fetch_add(i, Ordering::Relaxed);
                    });
                    (which, threads(), sum.into_inner())
                };
                for _ in 0..3 {
                    let (first, second) = both(|| work(0), || work(1).1);
                    assert_eq!((first, second), ((0, halved, 4950), halved));
                    assert_eq!(threads(), count);
                }
            });
        }
    }

    #[test]
    fn a_panic_in_one_of_two_works_comes_out_and_both_go_on() {
        with_threads(4, || {
            for fails in [0, 1] {
                let work = |which| assert_ne!(which, fails, "this one");
                assert!(catch_unwind(|| both(|| work(0), || work(1))).is_err());
                assert_eq!(threads(), 4);
            }
            assert_eq!(both(threads, threads), (2, 2));
        });
    }

    #[test]
    fn a_panic_comes_out_and_the_team_goes_on() {
        with_threads(2, || {
            for place in [0, 99] {
                let failed = catch_unwind(|| each(100, |i| assert_ne!(i, place, "at this place")));
                assert!(failed.is_err());
            }
            let sum = AtomicUsize::new(0);
            each(100, |i| {
                let _ = sum.fetch_add(i, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 4950);
        });
    }
}
