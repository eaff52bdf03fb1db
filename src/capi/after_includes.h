/// The alignment of a workspace, in bytes.
#define XENT_WORKSPACE_ALIGNMENT 256

#if defined(__GNUC__) || defined(__clang__)
#define XENT_MUST_USE __attribute__((warn_unused_result))
#else
#define XENT_MUST_USE
#endif

/// A CUstream or cudaStream_t, which are the same type: no header of CUDA is needed here.
typedef struct CUstream_st *xent_stream;
