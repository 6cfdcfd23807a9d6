//! The `shardplan` command.

fn main() {}
