package tier

// Class is a class of operations with a limit of its own.
type Class string

// The classes (iot-hub-devguide-quotas-throttling). The tier says whether a limit is per hub or per
// unit. Device and service share the classes of twins: the public tables do not part them.
const (
	ClassRegistry   Class = "registry"  // each device of a bulk call counts
	ClassConnect    Class = "connect"   // new connections
	ClassTelemetry  Class = "telemetry" // device-to-cloud messages
	ClassQuery      Class = "query"
	ClassTwinRead   Class = "twin_read"
	ClassTwinUpdate Class = "twin_update"
	ClassC2D        Class = "c2d"        // cloud-to-device messages
	ClassMethod     Class = "method"     // blocks of MethodBytes of request payload
	ClassJob        Class = "job"        // operations on jobs
	ClassJobDevice  Class = "job_device" // devices that jobs work on

	ClassConfiguration Class = "configuration" // operations on configurations

	ClassC2DReceive Class = "c2d_receive" // a device asks for a cloud-to-device message over HTTPS
	ClassFileUpload Class = "file_upload" // a device begins to upload a file

	// What services do with twins, where a hub gives it limits of its own.
	ClassServiceTwinRead   Class = "service_twin_read"
	ClassServiceTwinUpdate Class = "service_twin_update"
)

// Classes are all classes.
func Classes() []Class {
	return []Class{
		ClassRegistry, ClassConnect, ClassTelemetry, ClassQuery, ClassTwinRead, ClassTwinUpdate, ClassC2D, ClassMethod, ClassJob,
		ClassJobDevice, ClassConfiguration, ClassC2DReceive, ClassFileUpload, ClassServiceTwinRead, ClassServiceTwinUpdate,
	}
}
