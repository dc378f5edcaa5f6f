package main

import "github.com/spf13/cobra"

func newSimCmd(_ *globals) *cobra.Command { return &cobra.Command{Use: "sim"} }
