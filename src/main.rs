//! The `shardplan` command; all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    shardplan::cli::run()
}
