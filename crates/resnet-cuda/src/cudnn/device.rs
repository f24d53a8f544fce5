//! Devices as cuDNN wants them described: what the driver would tell, as JSON.

/// One NVIDIA H200.
pub const H200: &str = r#"{"memoryBusWidth":6144,"deviceVer":900,"driverVer":13000,"cudartVer":13000,"maxGridSize":[2147483647,65535,65535],
"maxBlockSize":[1024,1024,64],"regsPerBlock":65536,"multiProcessorCount":132,"warpSize":32,"maxSharedMemoryPerBlock":49152,
"maxSharedMemoryPerBlockOptin":232448,"reservedSharedMemoryPerBlock":1024,"maxRegistersPerSM":65536,"maxCtasPerSM":32,
"maxThreadsPerBlock":1024,"maxThreadsPerSM":2048,"pciDeviceId":0,"isTccDriver":0,"supportCoopLaunch":1,
"smClockRateKHz":1980000,"memClockRateKHz":3201000,"l2CacheSize":62914560,"deviceName":"NVIDIA H200","name":"NVIDIA H200",
"totalGlobalMem":150754820096,"cudaDeviceId":0,"device":0}"#;

/// One NVIDIA H100 with 80 GB, in its SXM form.
pub const H100: &str = r#"{"memoryBusWidth":5120,"deviceVer":900,"driverVer":13000,"cudartVer":13000,"maxGridSize":[2147483647,65535,65535],
"maxBlockSize":[1024,1024,64],"regsPerBlock":65536,"multiProcessorCount":132,"warpSize":32,"maxSharedMemoryPerBlock":49152,
"maxSharedMemoryPerBlockOptin":232448,"reservedSharedMemoryPerBlock":1024,"maxRegistersPerSM":65536,"maxCtasPerSM":32,
"maxThreadsPerBlock":1024,"maxThreadsPerSM":2048,"pciDeviceId":0,"isTccDriver":0,"supportCoopLaunch":1,
"smClockRateKHz":1980000,"memClockRateKHz":2619000,"l2CacheSize":52428800,"deviceName":"NVIDIA H100 80GB HBM3","name":"NVIDIA H100 80GB HBM3",
"totalGlobalMem":85014872064,"cudaDeviceId":0,"device":0}"#;

/// One NVIDIA A100 with 80 GB.
pub const A100: &str = r#"{"memoryBusWidth":5120,"deviceVer":800,"driverVer":13000,"cudartVer":13000,"maxGridSize":[2147483647,65535,65535],
"maxBlockSize":[1024,1024,64],"regsPerBlock":65536,"multiProcessorCount":108,"warpSize":32,"maxSharedMemoryPerBlock":49152,
"maxSharedMemoryPerBlockOptin":166912,"reservedSharedMemoryPerBlock":1024,"maxRegistersPerSM":65536,"maxCtasPerSM":32,
"maxThreadsPerBlock":1024,"maxThreadsPerSM":2048,"pciDeviceId":0,"isTccDriver":0,"supportCoopLaunch":1,
"smClockRateKHz":1410000,"memClockRateKHz":1593000,"l2CacheSize":41943040,"deviceName":"NVIDIA A100-SXM4-80GB","name":"NVIDIA A100-SXM4-80GB",
"totalGlobalMem":85198045184,"cudaDeviceId":0,"device":0}"#;
