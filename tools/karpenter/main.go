// Command karpenter is Karpenter with its kwok provider, listening on loopback alone.
//
// The upstream program takes its two ports from flags but always binds every address of the machine.
package main

import (
	"strings"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	ctrl "sigs.k8s.io/controller-runtime"

	kwok "sigs.k8s.io/karpenter/kwok/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/cloudprovider/overlay"
	"sigs.k8s.io/karpenter/pkg/controllers"
	"sigs.k8s.io/karpenter/pkg/controllers/state"
	"sigs.k8s.io/karpenter/pkg/operator"
)

func onLoopback(address string) string {
	if strings.HasPrefix(address, ":") {
		return "127.0.0.1" + address
	}
	return address
}

func newLoopbackManager(config *rest.Config, options ctrl.Options) (manager.Manager, error) {
	options.Metrics.BindAddress = onLoopback(options.Metrics.BindAddress)
	options.HealthProbeBindAddress = onLoopback(options.HealthProbeBindAddress)
	return manager.New(config, options)
}

func main() {
	ctrl.NewManager = newLoopbackManager
	ctx, op := operator.NewOperator()

	types, err := kwok.ConstructInstanceTypes(ctx)
	if err != nil {
		// Without instance types it would run and never make a node: better to end, and be reported.
		log.FromContext(ctx).Error(err, "no instance types")
		panic(err)
	}
	bare := kwok.NewCloudProvider(ctx, op.GetClient(), types)
	provider := overlay.Decorate(bare, op.GetClient(), op.InstanceTypeStore)
	cluster := state.NewCluster(op.Clock, op.GetClient(), provider)
	op.WithControllers(ctx, controllers.NewControllers(
		ctx, op.Manager, op.Clock, op.GetClient(), op.EventRecorder, provider, bare, cluster, op.InstanceTypeStore,
	)...).Start(ctx)
}
