// Package display draws the payer's screens on a text terminal.
package display
