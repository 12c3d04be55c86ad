// Pause keeps the namespaces of a pod: it sleeps until it is told to end.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

var version = "unknown"

func main() {
	if slices.Contains(os.Args[1:], "-v") {
		fmt.Println("pause", version)
		return
	}
	// Two channels, as what does not fit into one is dropped: no child may stand in the way of the end.
	end, children := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM)
	signal.Notify(children, syscall.SIGCHLD)
	for {
		// All that have ended, as one signal may stand for many. In a shared process namespace this is process 1,
		// to which those without a parent come.
		for pid := 1; pid > 0; {
			pid, _ = syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		}
		select {
		case <-end:
			return
		case <-children:
		}
	}
}
