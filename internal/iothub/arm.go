package iothub

// ArmPath is where an embedded hub in a process of its own is told, with POST, to hold the limits of its tier from now on. Azure IoT Hub has no
// such endpoint, nor has a hub that holds them from its start.
const ArmPath = "/twinfleet/arm"
