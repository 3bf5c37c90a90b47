// Package entity names what has a twin: a device, or a module of one.
package entity

import "strings"

// Key is the name of a device, or of a module of it, in one word: the device id, or device/module. It is the MQTT
// client id too (iot-mqtt-connect-to-iot-hub). No id has a slash, so that no two entities share a key.
func Key(deviceID, moduleID string) string {
	if moduleID == "" {
		return deviceID
	}
	return deviceID + "/" + moduleID
}

// Split takes a key apart; the module id is empty for a device.
func Split(key string) (deviceID, moduleID string) {
	deviceID, moduleID, _ = strings.Cut(key, "/")
	return deviceID, moduleID
}

// Path is where the device or the module of a key is below its hub, with the ids as they are: /devices/{id}, or
// /devices/{id}/modules/{id}.
func Path(key string) string {
	device, module := Split(key)
	if module == "" {
		return "/devices/" + device
	}
	return "/devices/" + device + "/modules/" + module
}

// IsModule reports whether a key is a module's.
func IsModule(key string) bool { return strings.IndexByte(key, '/') >= 0 }
