//go:build tools

// Package tools names the program that is built from this module's pins.
package tools

import _ "miniflux.app/v2"
