//! Visits to hosts that are alike, each on a host of its own or beside others that it has room with.
//! Which visits a path makes is not here.

/// More tries than these are not worth it: hosts are told apart instead.
pub(super) const MOST_TRIES: usize = 10_000;

/// Visits on hosts that are alike, placed one after the other.
pub(super) struct Packing<'a> {
    pub(super) visits: Vec<&'a [usize]>,
    pub(super) rooms: Vec<Vec<usize>>,
    pub(super) chosen: Vec<usize>,
    pub(super) left: usize,
}

impl Packing<'_> {
    /// Whether all that are left find room.
    pub(super) fn go_on(&mut self) -> bool {
        let Some(visit) = self.visits.get(self.chosen.len()).copied() else {
            return true;
        };
        for host in 0..self.rooms.len() {
            // Of hosts with the same room one is enough.
            let is_another = self.rooms[..host].contains(&self.rooms[host]);
            let fits = self.rooms[host]
                .iter()
                .zip(visit)
                .all(|(room, used)| used <= room);
            if is_another || !fits || self.left == 0 {
                continue;
            }
            self.left -= 1;
            self.rooms[host]
                .iter_mut()
                .zip(visit)
                .for_each(|(room, used)| *room -= used);
            self.chosen.push(host);
            if self.go_on() {
                return true;
            }
            self.chosen.pop();
            self.rooms[host]
                .iter_mut()
                .zip(visit)
                .for_each(|(room, used)| *room += used);
        }
        false
    }
}
