package main

import "github.com/spf13/cobra"

func newQRCmd(_ *globals) *cobra.Command { return &cobra.Command{Use: "qr"} }
