// Package twin is the device twin: its sections beside the members of the identity that documents show in both,
// and the views a service, a device or a query is shown.
//
// A Twin that others can see is never changed: a write makes the next one. The rules are those of Microsoft's
// iot-hub-devguide-device-twins and of the twin reference of the REST API.
package twin
