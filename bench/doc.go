// Command bench measures the figures that the agent promises (docs/benchmarks.md)
// and writes them there. It is a module of its own, so that the program knows
// neither the peers it is compared with nor what only measuring needs.
//
//	go run . [flags] [FIGURE...]
//
//	charge     amount confirmed to code drawn, paid to "PAGO", disk per charge
//	push       the hub's message to "PAGO"
//	sync       a long offline ledger to the hub
//	operation  the durable operation against dque and an outbox in SQLite
//	slip       bytes and time of a receipt
//	start      start to first screen, and to ready, with 100,000 entries
//	idle       processor, memory and disk of a terminal that nobody uses
//	size       the stripped binaries, and what is in them
//
// Tables go between the document's markers, plots into pictures beside it.
//
// # How it measures
//
// What is compared runs interleaved in one process on one disk, so that a busy
// machine or a slow disk meets all of it alike; ratios are formed within a round
// and their median is told. Absolute times stand beside what the disk did in the
// same run: a write of 4 KiB and its fdatasync. Nothing is mocked between a key
// and the screen but the provider, whose own time is taken off, and the glass.
//
// The disk is real: on a tmpfs, where a flush costs nothing, bench refuses to
// measure. The figures that concern a whole process (start, idle) come from a
// built agent on a pseudo-terminal, not from inside.
//
// Exit codes: 0 measured, 1 something could not be measured or, with -gate, a
// target was missed; 2 wrong usage.
package main
