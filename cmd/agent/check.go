package main

import "github.com/spf13/cobra"

func newCheckCmd(_ *globals) *cobra.Command { return &cobra.Command{Use: "check"} }
