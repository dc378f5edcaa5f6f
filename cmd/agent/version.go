package main

import "github.com/spf13/cobra"

func newVersionCmd(_ *globals) *cobra.Command { return &cobra.Command{Use: "version"} }
