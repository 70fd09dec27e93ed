//! Waiting for a moment, more exactly than tokio's timers, which round up to a millisecond.
//!
//! Enter: a moment. Leave: the task, woken at it. Never: a busy wait, which would take a core from what is
//! measured.

use std::io;
use std::time::Instant;

#[cfg(target_os = "linux")]
pub(crate) use self::linux::Timer;
#[cfg(not(target_os = "linux"))]
pub(crate) use self::portable::Timer;

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::OwnedFd;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::unix::AsyncFd;

    use super::{Instant, io};

    /// A timer of the kernel, with nanoseconds, that the event loop watches like a socket.
    #[derive(Debug)]
    pub(crate) struct Timer(AsyncFd<OwnedFd>);

    impl Timer {
        pub(crate) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            #[expect(
                deprecated,
                reason = "its successor asks for a promise that an OwnedFd keeps by itself: its descriptor never changes"
            )]
            AsyncFd::new(timer).map(Self)
        }

        /// Waits until `due`; at once when it has passed.
        pub(crate) async fn until(&self, due: Instant) {
            if self.exactly(due).await.is_err() {
                // The kernel's timers are used up or broken: late is better than not at all.
                tokio::time::sleep_until(due.into()).await;
            }
        }

        async fn exactly(&self, due: Instant) -> io::Result<()> {
            loop {
                let left = due.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(());
                }
                let once = Itimerspec {
                    it_interval: Timespec {
                        tv_sec: 0,
                        tv_nsec: 0,
                    },
                    it_value: Timespec {
                        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                        tv_nsec: left.subsec_nanos().into(),
                    },
                };
                timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
                loop {
                    let mut ready = self.0.readable().await?;
                    let mut expirations = [0_u8; 8];
                    let read = ready.try_io(|timer| {
                        rustix::io::read(timer.get_ref(), &mut expirations).map_err(Into::into)
                    });
                    match read {
                        Ok(outcome) => break outcome.map(drop)?,
                        Err(_not_yet) => {}
                    }
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod portable {
    use super::{Instant, io};

    /// Tokio's timer: latencies of an open loop contain up to a millisecond of its rounding.
    #[derive(Debug)]
    pub(crate) struct Timer;

    impl Timer {
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        /// Waits until `due`; at once when it has passed.
        pub(crate) async fn until(&self, due: Instant) {
            tokio::time::sleep_until(due.into()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_never_wakes_early() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let timer = Timer::new().unwrap();
            for micros in [0, 1, 50, 500, 2_500] {
                let due = Instant::now() + Duration::from_micros(micros);
                timer.until(due).await;
                assert!(Instant::now() >= due);
            }
        });
    }
}
