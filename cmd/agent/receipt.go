package main

import "github.com/spf13/cobra"

func newReceiptCmd(_ *globals) *cobra.Command { return &cobra.Command{Use: "receipt"} }
