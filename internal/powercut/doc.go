// Package powercut says what a power cut may leave of a file, from a recording
// of what a program did to it. It is for tests.
//
// # The model
//
// A recording ([Parse]) is the program's system calls on one file, as strace
// saw them, and what the program told the world in between: a line on its
// standard output, a slip on paper, a request to a provider. What was written
// before a flush began is durable when the flush has returned. Every later write
// may be there, be missing, or be torn: any subset of its 512-byte sectors is on
// the disk, whatever became of the writes before it.
//
// Between two returns of a flush, everything that was told by the second one may
// have been told when the power went, so the state must bear it out. [Recording.Each]
// makes such states: the plain ones (nothing, everything, one missing, one alone,
// one torn), then random ones.
//
// # Mutants
//
// A harness that finds nothing proves nothing. [Recording.LyingDisk] is the same
// program on a disk that flushes nothing, or only sometimes; [Recording.ToldTooEarly]
// tells everything a commit earlier than the program did. Both must be caught.
package powercut
