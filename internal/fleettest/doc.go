// Package fleettest holds the proof of the link as a whole: terminals, real
// brokers and a hub in processes of their own, all of which are killed and cut
// off at random while entries keep coming. It has nothing but tests.
package fleettest
