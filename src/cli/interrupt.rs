//! The clock and Ctrl-C: each ends a search with the best so far.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::Failure;
use crate::solve::Stop;
use crate::units::Seconds;

/// How a shell names the death by Ctrl-C.
const INTERRUPTED: i32 = 130;

/// A flag that is set when someone presses Ctrl-C. Who presses it twice does not want the best so far
/// either.
pub(super) fn listen() -> Result<Stop, Failure> {
    let stop = Stop::default();
    let interrupted = Stop::default();
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if interrupted.is_set() {
            #[allow(clippy::exit, reason = "nothing is half-written before an answer")]
            std::process::exit(INTERRUPTED);
        }
        interrupted.set();
        flag.set();
    })?;
    Ok(stop)
}

/// An answer, with a flag that is set when its time is over, or with `all`.
pub(super) fn within<T>(limit: Seconds, all: &Stop, answer: impl FnOnce(&Stop) -> T) -> T {
    let stop = all.of_one();
    // A time that no clock counts is no limit.
    let limit = Duration::try_from_secs_f64(limit.0).unwrap_or(Duration::MAX);
    let (is_over, over) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let flag = stop.clone();
        scope.spawn(move || {
            if over.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                flag.set();
            }
        });
        let answer = answer(&stop);
        drop(is_over);
        answer
    })
}
