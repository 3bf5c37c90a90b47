// Package counting holds what runs say of deliveries against an account of their own: a proxy between devices and broker sees each packet, loses
// some, sends some twice or in another order, and cuts connections. It shares no code with the program: it reads MQTT with Paho's own packets,
// matches topics by itself, and keeps all that it saw.
package counting
