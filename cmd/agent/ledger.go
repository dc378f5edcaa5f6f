package main

import "github.com/spf13/cobra"

func newLedgerCmd(_ *globals) *cobra.Command { return &cobra.Command{Use: "ledger"} }
