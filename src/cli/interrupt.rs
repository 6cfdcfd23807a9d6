//! The clock and Ctrl-C: each ends a search with the best so far.

use std::thread;
use std::time::Duration;

use super::Failure;
use crate::solve::Stop;
use crate::units::Seconds;

/// How a shell names the death by Ctrl-C.
const INTERRUPTED: i32 = 130;

/// A flag that is set when the time is over, or when someone presses Ctrl-C. Who presses it twice
/// does not want the best so far either.
pub(super) fn stop_after(limit: Seconds) -> Result<Stop, Failure> {
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
    let limit = Duration::try_from_secs_f64(limit.0)?;
    let flag = stop.clone();
    thread::spawn(move || {
        thread::sleep(limit);
        flag.set();
    });
    Ok(stop)
}
