// Package escpos is the Epson dialect: commands as bytes and answers taken
// apart. It is pure.
package escpos
