// Package writepb is the messages of Prometheus' remote write 1.0, as protoc generates them from write.proto.
package writepb
