module second_verifier

go 1.25.0

require (
	github.com/klauspost/compress v1.19.1
	golang.org/x/crypto v0.45.0
	golang.org/x/mod v0.38.0
)

require golang.org/x/sys v0.38.0 // indirect
