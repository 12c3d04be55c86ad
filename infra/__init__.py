"""The Pulumi program: environment settings in, host records out."""
