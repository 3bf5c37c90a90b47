package iothub

import (
	"errors"
	"testing"
)

// The numbers and names that services of other makers expect (troubleshoot-error-codes). They are
// written out here a second time, so that a slip in the table of the package shows.
func TestErrorTable(t *testing.T) {
	want := map[int]struct {
		status int
		name   string
	}{
		400001: {400, "InvalidProtocolVersion"},
		400003: {400, "InvalidOperation"},
		400004: {400, "ArgumentInvalid"},
		400005: {400, "ArgumentNull"},
		400006: {400, "IotHubFormatError"},
		400011: {400, "DeviceDefinedMultipleTimes"},
		400012: {400, "DeserializationError"},
		400013: {400, "BulkRegistryOperationFailure"},
		400027: {400, "ConnectionForcefullyClosedOnNewConnection"},
		401002: {401, "IotHubUnauthorizedAccess"},
		401003: {401, "IotHubUnauthorized"},
		403002: {403, "IotHubQuotaExceeded"},
		403004: {403, "DeviceMaximumQueueDepthExceeded"},
		403010: {403, "OperationNotAvailableInCurrentTier"},
		403012: {403, "DeviceDisabled"},
		404000: {404, "GenericNotFound"},
		404001: {404, "DeviceNotFound"},
		400008: {400, "BlobContainerValidationError"},
		400015: {400, "InvalidFileUploadCorrelationId"},
		400016: {400, "ExpiredFileUploadCorrelationId"},
		400019: {400, "InvalidFileUploadCompletionStatus"},
		400020: {400, "InvalidStorageEndpointOrBlob"},
		403001: {403, "JobQuotaExceeded"},
		403006: {403, "DeviceMaximumActiveFileUploadLimitExceeded"},
		400901: {400, "InvalidConfigurationContent"},
		403901: {403, "ConfigurationQuotaExceeded"},
		404901: {404, "ConfigurationNotFound"},
		409901: {409, "ConfigurationAlreadyExists"},
		404002: {404, "JobNotFound"},
		404010: {404, "ModuleNotFound"},
		404103: {404, "DeviceNotOnline"},
		405001: {405, "OperationNotAllowedInCurrentState"},
		409001: {409, "DeviceAlreadyExists"},
		409004: {409, "JobAlreadyExists"},
		409301: {409, "ModuleAlreadyExistsOnDevice"},
		412001: {412, "PreconditionFailed"},
		412002: {412, "DeviceMessageLockLost"},
		413001: {413, "MessageTooLarge"},
		413002: {413, "TooManyDevices"},
		429000: {429, "GenericTooManyRequests"},
		429001: {429, "ThrottlingException"},
		429002: {429, "ThrottleBacklogLimitExceeded"},
		429003: {429, "ThrottlingBacklogTimeout"},
		429004: {429, "ThrottlingMaxActiveJobCountExceeded"},
		429005: {429, "DeviceThrottlingLimitExceeded"},
		500001: {500, "ServerError"},
		500008: {500, "GenericTimeout"},
		503001: {503, "ServiceUnavailable"},
		503005: {503, "ServerBusy"},
		504101: {504, "GatewayTimeout"},
	}
	known := Known()
	if len(known) != len(want) {
		t.Errorf("%d errors; want %d", len(known), len(want))
	}
	for _, e := range known {
		if w := want[e.Code]; e.Status != w.status || e.Name != w.name || e.Message == "" {
			t.Errorf("%d is %d %s %q; want %d %s and a text", e.Code, e.Status, e.Name, e.Message, w.status, w.name)
		}
	}
}

func TestErrorCopies(t *testing.T) {
	with := ErrDeviceNotFound.With("%s is gone", "dev-1").WithInfo("a", "1").WithInfo("b", "2")
	if with.Message != "dev-1 is gone" || with.Info["a"] != "1" || with.Info["b"] != "2" || !errors.Is(with, ErrDeviceNotFound) {
		t.Errorf("copy = %+v", with)
	}
	if ErrDeviceNotFound.Message != "Device not found" || ErrDeviceNotFound.Info != nil {
		t.Errorf("the original changed: %+v", ErrDeviceNotFound)
	}
	if errors.Is(with, ErrModuleNotFound) || AsError(with) != with || AsError(errors.New("x")) != ErrServer {
		t.Error("errors are taken for others")
	}
	with.TrackingID = "t-1"
	if got, want := with.Error(), "404001 DeviceNotFound: dev-1 is gone (tracking id t-1)"; got != want {
		t.Errorf("Error() = %q; want %q", got, want)
	}
}
