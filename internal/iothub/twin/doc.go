// Package twin holds the device twin document: JSON values, the sections of a
// twin with their metadata and versions, the merge-patch that changes them, the
// limits a section must keep, and the views a service or a device is shown.
//
// Everything here is immutable. A patch makes a new section that shares with the
// old one whatever the patch did not touch, so a snapshot costs nothing and may be
// read by any number of goroutines. The rules are those of Microsoft's
// iot-hub-devguide-device-twins and of the twin reference of the REST API.
package twin
