package main

import "github.com/spf13/cobra"

func newStoreCheckCmd(_ *globals) *cobra.Command {
	return &cobra.Command{Use: "store-check", Hidden: true}
}
