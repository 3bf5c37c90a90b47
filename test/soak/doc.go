// Package soak runs random scenarios against real targets that misbehave, and holds every verdict against an oracle: a
// proxy between fleet and target that saw each packet. The oracle shares no code with the program; it reads MQTT with
// Paho's own packets.
package soak
