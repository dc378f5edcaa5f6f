// Package store is the one bbolt file in which everything durable lives, and
// the one goroutine that writes it.
//
// # Use
//
// [Create] makes the file, [BootCheck] looks at it from a child process,
// [Open] opens it, [Store.Run] is the committer. Callers hand over [Op]s:
// functions of a bbolt transaction (ledger.Append, queue.Put, …). Run takes
// everything that is waiting and puts it into one commit, without timers: that
// is the group commit. An operation's Done is called after the commit it rests
// on, never before.
//
// # Errors of a commit
//
// A failed commit has an unknown outcome: bbolt may already show it to readers
// while the disk never got it, or the other way round. So the first such error
// ends the store. Every waiting Done gets [ErrOutcomeUnknown], nothing more is
// read or written, and [Store.Failed] closes: the process must end, open the
// file again and look its operation ids up. Such a commit is not tried again.
//
// For the same reason [Store.View] never shows a commit whose flush has not
// returned, although bbolt itself would.
//
// One error is not such a case: that the file has no room. bbolt finds that before
// it writes anything, so the outcome is known, and Space, below, says what is done.
//
// # Space
//
// The file is filled with zeros when it is made, so a full disk cannot stop it
// later, and it never grows. Operations marked New are refused with [ErrFull]
// while few pages are free; everything else (acknowledgements, progress,
// pruning) still fits into the reserve. The last third of that is for operations
// that say they free space, so that a store can always be emptied again.
//
// A commit needs free pages for all that it replaces, and what former commits have
// replaced stays occupied while a reader that began before them is open. So when
// a group finds no room, its New operations are refused first, then it is divided,
// and at last each operation is tried by itself while no reader is let in, those
// that are there having ended. What finds no room then is refused with ErrFull,
// too, although it is not New: nothing of it was written, and it may be tried
// again.
//
// If not even one commit is possible when the store is opened (disk full under a
// sparse file, read-only or failing disk), it opens read-only and [Stats.ReadOnly]
// says why.
//
// # Damage
//
// bbolt has no checksum on data pages, and on a damaged file it can panic, run
// out of memory or crash in a goroutine of its own. [BootCheck] therefore reads
// the file in a child process with limits. A file that fails is renamed aside
// with a note of what was found, and a marker makes [Create] and [Open] refuse
// until a person acted: an empty store is never put in the place of a lost one.
//
// Rows that are deleted remain in free pages of the file until those are used
// again; so does purged personal data.
package store
