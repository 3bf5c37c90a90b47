// Package deploy checks without an engine what puts twinfleet into containers: the Dockerfile, configs/compose.yaml and
// configs/kubernetes are read strictly, agree with each other, and their commands run as they stand there. It is a module of its own, for
// the program needs none of what reads them.
package deploy
