// Package sim is a deterministic simulator of s3redirect's world: replicas, the store that they
// share, STS, S3, browsers, and everything that goes wrong between them.
//
// One seed makes a [Schedule]: the world's shape, and the steps that happen to it at given instants
// of virtual time. [Run] plays a schedule in a testing/synctest bubble. The replicas are real: each
// is an [app.App] with a configuration file, behind the wire and net/http, on in-memory connections.
// STS and S3 are [fakeaws]'s, which verify every signature. The shared store implements
// [integration.Shared] in memory; package sessionstore's encryption and protocol are not part of the
// simulation.
//
// After each step a model checks the invariants (see [Invariant]). It knows the truth: the faults,
// the clocks, the sessions that STS has issued, and the rules of each replica's configuration, which
// it evaluates with its own code. It uses nothing of the program but its answers, logs and metrics.
//
// # Determinism
//
// The same schedule gives the same trace, byte for byte, whatever GOMAXPROCS is. Goroutines of a
// bubble run in parallel, so the simulator never lets two of them race for something that can be
// seen:
//
//   - Steps and the requests of a step begin at different instants, and every simulated delay has a
//     random number of nanoseconds. The clock of a bubble advances only when all goroutines wait, so
//     one event and everything that follows from it is over before the next one begins.
//   - Each source of randomness belongs to one replica or one service, and is seeded.
//   - What several goroutines report at one instant is sorted before it is checked and written to
//     the trace.
package sim
